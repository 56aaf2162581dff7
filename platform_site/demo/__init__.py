"""What `manage.py quickstart` is made of: the folder, the processes, the people, the story."""
