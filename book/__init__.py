"""What only building the book needs: its pages, its notebooks, its address."""
