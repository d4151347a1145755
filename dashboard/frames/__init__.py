"""Tables behind the pages: pandas and plain data, no streamlit."""
