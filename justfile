# Short names for the chores; `cargo xtask` does the work and needs no just.

# Talk to the demo: no phone, no GPU.
demo *arguments:
    cargo xtask demo {{arguments}}

# Every check and test.
test *arguments:
    cargo xtask test {{arguments}}

# The house rules that the compiler and clippy do not know.
tidy:
    cargo xtask tidy

# Search for inputs that break a parser: just fuzz twilio_json 60
fuzz target seconds="60":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}
