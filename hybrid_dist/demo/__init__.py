"""The demo's data: invented languages that say the same things in different words."""
