"""What a program sees: whole streams over real sockets, and programs in processes of their own."""
