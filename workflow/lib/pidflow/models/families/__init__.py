"""Model families, one file each: where the parts of such a model are, and how its image tokens lie."""
