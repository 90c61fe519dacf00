"""The working verbs, one file each; a stage introduces the rooms to one another."""
