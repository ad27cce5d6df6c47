"""The small LLaVA that is shipped: its architecture and its training."""
