"""HTTP/1.1 over sockets of this process: one event loop, and threads that no slow client can hold."""
