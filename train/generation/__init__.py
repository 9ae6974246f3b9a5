"""How responses are drawn where it is not simply TRL that draws them."""
