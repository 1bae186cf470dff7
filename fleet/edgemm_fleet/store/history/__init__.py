"""Windows in short and for a while: the newest ones, and tables that expire as a whole."""
