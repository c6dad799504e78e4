"""Other systems that bring messages from clients to clients, to be measured next to mdstream."""
