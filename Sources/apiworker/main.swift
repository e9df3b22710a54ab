print("apiworker")
