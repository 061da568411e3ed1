//go:build race

package torture

// raced: the binary is built with the race detector when the tests are.
const raced = true
