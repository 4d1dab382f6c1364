"""Files, locks, memory, processors, processes, checksums, schemas of files and notes to the user."""
