package bus

import (
	"reflect"
	"testing"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// filled sets every field of the struct at v, and of those in it, to something that is not zero.
func filled(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanSet() {
			continue // a time's
		}
		switch f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name)
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(i + 1))
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
		case reflect.Struct:
			filled(t, f)
		default:
			t.Fatalf("no value for field %s", v.Type().Field(i).Name)
		}
	}
}

// Rule: a message in the memory of another one is as whole as a new one, and nothing of the other's.
func TestAMessageOfABatchIsWholeAndNothingOfTheOneBefore(t *testing.T) {
	full := &item{d: &port.Delivery{}}
	filled(t, reflect.ValueOf(&full.inside().meta).Elem())
	filled(t, reflect.ValueOf(full.d).Elem())
	full.step.begin(full, &port.Group{Topic: "orders", Name: "billing"}, turn{gate: &gate{}, n: 1})
	bare := &item{bare: &envelope.Meta{Type: "orders"}, d: &port.Delivery{Message: port.Message{ID: "2", Key: "k"}}}
	bare.step.begin(bare, &port.Group{}, turn{gate: &gate{}, n: 2})

	var m Message[[]byte]
	m.become(full, "w1")
	if want := full.message("w1"); !reflect.DeepEqual(m.Meta, want.Meta) || m.Delivery != want.Delivery || m.step != want.step || m.turn != want.turn {
		t.Errorf("a message that was none's is %+v, want %+v", m, want)
	}
	left := m
	left.Payload = []byte("payload")
	left.leave()
	if left.ID != "" || left.Payload != nil || left.step != nil || left.CorrID != "" || left.Headers != nil || left.Extra != nil {
		t.Errorf("left is %+v", left)
	}
	m.become(bare, "")
	if want := bare.message(""); !reflect.DeepEqual(m.Meta, want.Meta) || m.Delivery != want.Delivery || m.step != want.step {
		t.Errorf("a message that was another's is %+v, want %+v", m, want)
	}
}
