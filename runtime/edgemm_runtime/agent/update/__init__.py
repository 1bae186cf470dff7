"""The update of one model: a pure state machine, the steps that it asks for, and the thread that takes them."""
