"""The wire between the host and the board: messages, frames and sessions, with no I/O of its own."""
