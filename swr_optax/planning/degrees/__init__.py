"""How every value of a network scales when its parameters are scaled."""
