"""HTTP/1.1 over sockets of this process: event loops that read, threads for what takes long, no file ever written."""
