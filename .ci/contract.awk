# Makes a table of what go test -v says of the contract suite: cases by stores.
/^ok / { n = split($2, path, "/"); store = path[n]; for (i in seen) column[i] = column[i] ? column[i] : store; delete seen; next }
/^--- / { next }
/^ +--- (PASS|FAIL|SKIP): TestContract[A-Za-z]*\// {
	outcome = substr($2, 1, length($2) - 1)
	split($3, part, "/")
	case_ = substr($3, length(part[1]) + 2)
	gsub("_", " ", case_)
	seen[part[1] SUBSEP NR] = 1
	row[case_] = 1
	what[NR] = outcome; of[NR] = case_; suite[NR] = part[1]; at[++count] = NR
}
END {
	for (k = 1; k <= count; k++) {
		i = at[k]; s = column[suite[i] SUBSEP i] ? column[suite[i] SUBSEP i] : "?"
		if (suite[i] != "TestContract") { over = suite[i]; sub("TestContractOver", "", over); s = s " over " tolower(over) }
		if (!(s in stores)) { stores[s] = ++width; name[width] = s }
		cell[of[i] SUBSEP s] = outcome = what[i]
	}
	printf "%-78s", "case"
	for (w = 1; w <= width; w++) printf "  %-20s", name[w]
	print ""
	sort = "sort"
	for (c in row) {
		line = sprintf("%-78s", c)
		for (w = 1; w <= width; w++) line = line sprintf("  %-20s", cell[c SUBSEP name[w]] ? cell[c SUBSEP name[w]] : "-")
		print line | sort
	}
	close(sort)
}
