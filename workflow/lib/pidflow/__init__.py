"""pidflow: partial information decomposition of vision-language models, layer by layer."""
