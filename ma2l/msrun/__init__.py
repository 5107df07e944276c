"""``ma2l msrun``: MindSpore's launcher, with its parameters, its log names and its environment."""
