"""What a plug-in is: found by its file, with typed settings and sentences for wrong ones."""
