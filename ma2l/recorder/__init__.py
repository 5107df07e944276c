"""The one module that training code may import; this directory alone is put on its path."""
