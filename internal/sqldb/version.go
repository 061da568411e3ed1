package sqldb

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// oldest are the versions that our statements need at least.
var oldest = map[string][2]int{"PostgreSQL": {13, 0}, "MySQL": {8, 0}, "MariaDB": {10, 11}}

var numbers = regexp.MustCompile(`^(\d+)(?:\.(\d+))?`)

// checkVersion refuses a server that is too old, by what it calls its version,
// such as 15.2 or 10.11.14-MariaDB. One that can't be read is taken.
func checkVersion(kind Kind, version string) error {
	name := map[Kind]string{PostgreSQL: "PostgreSQL", MySQL: "MySQL"}[kind]
	if strings.Contains(version, "MariaDB") {
		name = "MariaDB"
	}
	found := numbers.FindStringSubmatch(version)
	if found == nil {
		return nil
	}
	major, _ := strconv.Atoi(found[1]) // digits alone
	minor, _ := strconv.Atoi(found[2]) // or nothing
	if least := oldest[name]; major < least[0] || major == least[0] && minor < least[1] {
		return fmt.Errorf("it is %s %s, and must be %d.%d or newer", name, version, least[0], least[1])
	}
	return nil
}
