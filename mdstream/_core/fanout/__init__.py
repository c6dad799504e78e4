"""Topics and their subscribers: what is sent to whom, and when."""
