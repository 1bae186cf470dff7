"""HTTP/1.1 over sockets of this process: event loops, a bounded pool of threads, bodies and limits."""
