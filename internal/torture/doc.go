// Package torture holds the suites that prove the law of reminders on the real
// binary: never lost, never early, never for an old time, never twice but where
// a send was in doubt. It kills the service, fails its disk, cuts its power,
// flips bits in its files, races moves against sends, and gives it more than it
// can take. What clients were told and what was delivered is kept in files of
// their own, by processes that nothing of this happens to, and compared after
// each fault.
//
// All of it is tests. Plain go test runs each suite at a small size:
//
//	go test ./internal/torture
//	go test ./internal/torture -size=ci                   # what .ci/run does
//	go test ./internal/torture -run TestKilled -size=long # 1,000 kills
//	go test ./internal/torture -run TestKilled -seed=7    # a run again
//	go test ./internal/torture -binary=/path/to/belltower # one that is built already
package torture
