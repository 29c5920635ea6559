"""The packaged corpora, one file of triples for each domain; `pipeline.triples` reads them."""
