"""The command line: one module per command, from its arguments to the tables, pictures or JSON that it outputs."""
