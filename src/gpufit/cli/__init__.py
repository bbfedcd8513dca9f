"""Front of house: typer lives only here. One file a command: parse, call the api, render, return the exit code."""
