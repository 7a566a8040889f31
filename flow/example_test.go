package flow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/flow"
)

// A pipeline with a way back: what the check finds goes to the phase before it, at most three times.
func Example_flow() {
	type request struct{ Text string }
	type draft struct{ Text, Finding string }

	plan := flow.First("plan", func(_ context.Context, r request) (draft, error) {
		return draft{Text: r.Text}, nil
	})
	code := flow.Then(plan, "code", func(_ context.Context, d draft) (string, error) {
		if d.Finding != "" {
			return strings.ToUpper(d.Text), nil
		}
		return d.Text, nil
	})
	check := flow.Then(code, "check", func(_ context.Context, s string) (string, error) {
		if s != strings.ToUpper(s) {
			return "", flow.Back(code, draft{Text: s, Finding: "not upper case"}, 3)
		}
		return s, nil
	})
	shout, err := flow.NewPipeline("shout", plan, check)
	if err != nil {
		panic(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := memory.New(memory.Config{})
	work := func(ctx context.Context) error { return shout.Work(ctx, b, flow.Worker{}) } // on any number of nodes
	err = muster.Run(ctx, work, func(ctx context.Context) error {
		defer stop()
		run, err := shout.Start(ctx, b, "run-1", request{Text: "ship it"})
		if err != nil {
			return err
		}
		for r, err := range run.Watch(ctx) {
			if err != nil {
				return err
			}
			fmt.Println(r.Phase, r.Event)
		}
		result, err := run.Wait(ctx)
		fmt.Println(result, err)
		return nil
	})
	fmt.Println(err)
	// Output:
	// plan started
	// plan begun
	// plan done
	// code begun
	// code done
	// check begun
	// check back
	// code begun
	// code done
	// check begun
	// check done
	// SHIP IT <nil>
	// <nil>
}

// A step between two topics: the output, the record and the acknowledgement are one step.
func Example_step() {
	type order struct{ ID string }
	type shipment struct{ Order string }
	orders := bus.Topic[order]{Name: "orders.placed"}
	shipped := bus.Topic[shipment]{Name: "orders.shipped"}
	ship := flow.New(flow.Step[order, shipment]{Name: "ship", In: orders, Out: shipped}, func(_ context.Context, o order) (shipment, error) {
		return shipment{Order: o.ID}, nil
	})

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := memory.New(memory.Config{})
	tell := func(_ context.Context, m bus.Message[shipment]) error {
		fmt.Println("shipped", m.Payload.Order)
		stop()
		return nil
	}
	err := muster.Run(ctx,
		func(ctx context.Context) error { return ship.Run(ctx, b) },
		func(ctx context.Context) error { return shipped.Subscribe(ctx, b, bus.Group{Name: "mail"}, tell) },
		func(ctx context.Context) error { _, err := orders.Publish(ctx, b, order{ID: "1"}); return err },
	)
	fmt.Println(err)
	// Output:
	// shipped 1
	// <nil>
}

// What a handler did is recorded by name: a later try gets the result.
func ExampleDo() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := memory.New(memory.Config{})
	tries := 0
	pay := flow.First("pay", func(ctx context.Context, cents int) (string, error) {
		receipt, err := flow.Do(ctx, "charge", func(context.Context) (string, error) {
			fmt.Println("charging", cents)
			return "receipt 7", nil
		})
		if err != nil {
			return "", err
		}
		if tries++; tries == 1 {
			return "", errors.New("the printer is out of paper")
		}
		return receipt, nil
	})
	till, err := flow.NewPipeline("till", pay, pay)
	if err != nil {
		panic(err)
	}
	err = muster.Run(ctx,
		func(ctx context.Context) error {
			return till.Work(ctx, b, flow.Worker{Group: bus.Group{Log: slog.New(slog.DiscardHandler)}})
		},
		func(ctx context.Context) error {
			defer stop()
			run, err := till.Start(ctx, b, "", 250)
			if err != nil {
				return err
			}
			receipt, err := run.Wait(ctx)
			fmt.Println(receipt, err, "after", tries, "tries")
			return nil
		})
	fmt.Println(err)
	// Output:
	// charging 250
	// receipt 7 <nil> after 2 tries
	// <nil>
}
