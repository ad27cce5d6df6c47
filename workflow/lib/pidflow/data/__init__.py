"""Questions about pictures, wherever they come from."""
