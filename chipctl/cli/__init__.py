"""The command line: one declaring and one doing function per command; results on stdout."""
