"""Vision-language models: loading, inputs, spans of tokens, hidden states, what they say."""
