"""What is run by tests in processes of its own, and is no test."""

collect_ignore = ["kill_all_saves.py", "kill_saves.py"]
