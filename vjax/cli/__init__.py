"""The command line: a file a command. Arguments go in; tables, pictures and JSON come out."""
