package bus

// shelf is all items of a consumer, in hand or not. Their places in memory never change, and each has a number: lists that change with
// each message hold numbers, for a pointer costs more to write. Take, putBack and held are guarded by the consumer's mutex; who was
// given a number under it may look at that item without.
type shelf struct {
	boards []*[boardSize]item // those that are not needed yet are nil
	made   int
	free   []int32 // not in hand
	inHand int
}

const boardSize = 64

// newShelf has room for so many items in hand.
func newShelf(limit int) shelf {
	return shelf{boards: make([]*[boardSize]item, (limit+boardSize-1)/boardSize)}
}

func (s *shelf) at(no int32) *item { return &s.boards[no/boardSize][no%boardSize] }

// take is an item that was not in hand.
func (s *shelf) take() *item {
	if len(s.free) == 0 {
		first := int32(s.made) * boardSize
		board := new([boardSize]item)
		s.boards[s.made] = board
		s.made++
		for i := int32(boardSize) - 1; i >= 0; i-- {
			board[i].no = first + i
			s.free = append(s.free, first+i)
		}
	}
	last := len(s.free) - 1
	it := s.at(s.free[last])
	s.free = s.free[:last]
	s.inHand++
	return it
}

// putBack is for an item that is not in hand any more.
func (s *shelf) putBack(it *item) {
	s.free = append(s.free, it.no)
	s.inHand--
}

// held visits the items that are in hand.
func (s *shelf) held(visit func(*item)) {
	for _, board := range s.boards[:s.made] {
		for i := range board {
			if board[i].d != nil {
				visit(&board[i])
			}
		}
	}
}

// fifo is a queue of items, by their numbers; the zero value is empty.
type fifo struct {
	list []int32
	head int
}

func (f *fifo) len() int { return len(f.list) - f.head }

func (f *fifo) push(no int32) {
	if f.head > 0 && len(f.list) == cap(f.list) {
		n := copy(f.list, f.list[f.head:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, no)
}

// front is the next one without taking it; false when there is none.
func (f *fifo) front() (no int32, ok bool) {
	if f.len() == 0 {
		return 0, false
	}
	return f.list[f.head], true
}

// pop takes the next one; false when there is none.
func (f *fifo) pop() (no int32, ok bool) {
	if no, ok = f.front(); !ok {
		return 0, false
	}
	f.head++
	if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	}
	return no, true
}
