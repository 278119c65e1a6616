"""What `manage.py doctor` looks at: the settings, this machine, and what Nightjar is connected to."""
