"""Everything about events, knowing nothing of money: the log, its readers and their stores."""
