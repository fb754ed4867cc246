"""The routes, by subject: what is asked, of whom, and what is answered; how is in the modules beside."""
