"""The HTTP/1.1 transport: event loops read sockets, threads do long work, no file is written."""
