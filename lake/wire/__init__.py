"""What a gateway and its clients say to each other: the messages of Flight SQL, and names of our own."""
