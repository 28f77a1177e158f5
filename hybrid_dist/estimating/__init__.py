"""What a run would take on other hardware: memory, time and traffic, before it is started."""
