"""How good an encoder is inside a language, across two, and in a pool of all; and how fair."""
