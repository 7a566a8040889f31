package scripted_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/port"
)

func Example() {
	m, err := scripted.Parse("hello.json", []byte(`{
		"model": "hello",
		"scripts": [{
			"requirements": [{"text": "Say hello."}],
			"answers": [
				{"phase": "code", "attempt": 1, "text": "helo"},
				{"phase": "code", "attempt": 2, "text": "hello"}
			]
		}]
	}`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for attempt := 1; attempt <= 3; attempt++ {
		answer, err := m.Generate(context.Background(), port.Request{
			Turns:   []port.Turn{port.UserText("Write a program that says hello.")},
			Purpose: port.Purpose{Phase: "code", Attempt: attempt, Subject: port.Digest([]byte("Say hello."))},
		})
		if errors.Is(err, port.ErrNotFound) {
			fmt.Println("no answer for attempt", attempt)
			continue
		}
		fmt.Println(answer.Model, answer.Text(), answer.Stop, err)
	}
	// Output:
	// scripted:hello helo end <nil>
	// scripted:hello hello end <nil>
	// no answer for attempt 3
}
