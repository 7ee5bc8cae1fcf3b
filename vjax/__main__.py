"""`python -m vjax`: the same as the `vjax` command."""

if __name__ == "__main__":
    from vjax.start import main

    main()
