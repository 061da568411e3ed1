package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
)

func TestLinks(t *testing.T) {
	keyed := func(key string) func(string, []byte) []byte {
		return func(purpose string, data []byte) []byte {
			mac := hmac.New(sha256.New, []byte(key+purpose))
			mac.Write(data)
			return mac.Sum(nil)
		}
	}
	ours := optOutLinks(keyed("ours"), "https://bells.example.org/sub/")
	event, participant := uuid.NewString(), uuid.NewString()
	link := ours.link(event, participant)
	token, ok := strings.CutPrefix(link, "https://bells.example.org/sub/v1/opt-out/")
	require.True(t, ok, link)
	require.Equal(t, link, ours.link(event, participant), "the same in every message")
	got, ok := ours.read(token)
	require.True(t, ok)
	require.Equal(t, httpapi.Link{EventID: event, ParticipantID: participant}, got)

	_, ok = optOutLinks(keyed("theirs"), "").read(token)
	require.False(t, ok, "another's key")
	_, ok = pushLinks(keyed("ours"), "").read(token)
	require.False(t, ok, "for another purpose")
	for i := range token {
		forged := []byte(token)
		if forged[i]++; forged[i] == '_'+1 || forged[i] == '-'+1 {
			forged[i] = 'A'
		}
		_, ok := ours.read(string(forged))
		require.False(t, ok, "forged at %d", i)
	}
	for _, wrong := range []string{"", token[1:], token + "A", token + "=", "../" + token} {
		_, ok := ours.read(wrong)
		require.False(t, ok, wrong)
	}
	require.Empty(t, optOutLinks(keyed("ours"), "").link(event, participant), "without a public URL there is none")
}
