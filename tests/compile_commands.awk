# The compile lines of "make -Bn V=1" as a compilation database.
BEGIN { print "["; }
{
    line = line $0;
    if (line ~ /\\$/) { sub(/\\$/, "", line); next; }
    if (line ~ / -c [^ ]+\.c /) {
        match(line, / -c [^ ]+\.c /);
        file = substr(line, RSTART + 4, RLENGTH - 5);
        gsub(/ -fno-thread-jumps/, "", line); # gcc alone knows it
        gsub(/\\/, "\\\\", line);
        gsub(/"/, "\\\"", line);
        gsub(/\t/, " ", line);
        printf "%s{\"directory\": \"%s\", \"file\": \"%s\", ", sep, dir, file;
        printf "\"command\": \"%s\"}", line;
        sep = ",\n";
    }
    line = "";
}
END { print "\n]"; }
