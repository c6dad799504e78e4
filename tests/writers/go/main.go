// A small writer in Go that keeps to part 1 of docs/protocol.md: go run . nats://127.0.0.1:4222 GO:BTC-USD
package main

import (
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/vmihailenco/msgpack/v5"
)

const wrongLastSequence = 10071

var streams = []*nats.StreamConfig{
	{Name: "MD_STATE", Subjects: []string{"md.*.*.snap", "md.*.*.ref", "md.*.*.status"}, MaxMsgsPerSubject: 1, AllowDirect: true},
	{Name: "MD_LOG", Subjects: []string{"md.*.*.book", "md.*.*.trade"}, MaxAge: 10 * time.Minute, MaxBytes: 1 << 30, AllowDirect: true},
}

// writer belongs to one goroutine: numbers, book and messages stay in one order.
type writer struct {
	nc        *nats.Conn
	js        nats.JetStreamContext
	subject   string
	epoch     int64
	seq       int64 // of the book
	trades    int64
	unsnapped int
	state     string
	heard     time.Time // when the venue said something last; time.Since uses the monotonic clock
	bids      map[int64]int64
	asks      map[int64]int64
}

func now() int64 { return time.Now().UnixMicro() }

// token percent-encodes what a NATS token may not hold.
func token(text string) string {
	var out strings.Builder
	for _, character := range text {
		if character <= ' ' || strings.ContainsRune(".*>%", character) || (character >= 0x7f && character <= 0x9f) {
			for _, b := range []byte(string(character)) {
				fmt.Fprintf(&out, "%%%02X", b)
			}
		} else {
			out.WriteRune(character)
		}
	}
	return out.String()
}

// ---- sending

func pack(value any) []byte {
	payload, err := msgpack.Marshal(value)
	if err != nil {
		log.Fatal(err)
	}
	return payload
}

func (w *writer) live(kind string, value any) {
	if err := w.nc.Publish(w.subject+kind, pack(value)); err != nil {
		log.Print(err)
	}
}

// store leaves storing to JetStream and does not wait for its confirmation.
func (w *writer) store(kind string, value any) {
	if _, err := w.js.PublishAsync(w.subject+kind, pack(value)); err != nil {
		w.live(kind, value)
	}
}

func (w *writer) ref() map[string]any {
	return map[string]any{"epoch": w.epoch, "price_exp": -2, "size_exp": -8, "tick": 1, "lot": 1, "depth": 0, "name": "Bitcoin"}
}

func (w *writer) status() {
	ts, age := now(), time.Since(w.heard).Microseconds()
	w.store("status", []any{5, w.epoch, ts, w.state, "", w.seq, w.trades, ts - age})
}

func (w *writer) snap() {
	w.store("snap", []any{2, w.epoch, w.seq, now(), flat(w.bids, -1), flat(w.asks, 1)})
	w.unsnapped = 0
}

func (w *writer) announce() {
	w.store("ref", w.ref())
	w.status()
	w.snap()
}

// flat gives [ticks, lots, …], best first.
func flat(side map[int64]int64, sign int64) []int64 {
	ticks := make([]int64, 0, len(side))
	for each := range side {
		ticks = append(ticks, each)
	}
	sort.Slice(ticks, func(a, b int) bool { return sign*ticks[a] < sign*ticks[b] })
	levels := make([]int64, 0, 2*len(ticks))
	for _, each := range ticks {
		levels = append(levels, each, side[each])
	}
	return levels
}

// ---- what the venue says

// update is one atomic change; lots 0 deletes a level. A book that would cross is refused, and nothing is published.
func (w *writer) update(bids, asks []int64) error {
	nextBids, nextAsks := applied(w.bids, bids), applied(w.asks, asks)
	best := [2][]int64{flat(nextBids, -1), flat(nextAsks, 1)}
	if len(best[0]) > 0 && len(best[1]) > 0 && best[0][0] >= best[1][0] {
		return fmt.Errorf("%v | %v cross the book: bid %d, ask %d", bids, asks, best[0][0], best[1][0])
	}
	w.bids, w.asks, w.heard = nextBids, nextAsks, time.Now()
	w.seq++
	w.live("book", []any{1, w.epoch, w.seq, w.seq, now(), bids, asks})
	if w.unsnapped++; w.unsnapped >= 1000 {
		w.snap()
	}
	return nil
}

func applied(side map[int64]int64, changes []int64) map[int64]int64 {
	next := make(map[int64]int64, len(side)+1)
	for ticks, lots := range side {
		next[ticks] = lots
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == 0 {
			delete(next, changes[i])
		} else {
			next[changes[i]] = changes[i+1]
		}
	}
	return next
}

func (w *writer) trade(ticks, lots int64, side int) {
	w.heard = time.Now()
	w.trades++
	w.live("trade", []any{3, w.epoch, w.trades, now(), ticks, lots, side, w.trades}) // a venue without ids: its own number
}

// ---- a life of this writer

// begin takes an epoch above the stored one, and stores `ref` with it unless another writer was faster.
func (w *writer) begin() error {
	for _, config := range streams {
		if _, err := w.js.StreamInfo(config.Name); errors.Is(err, nats.ErrStreamNotFound) {
			if _, err = w.js.AddStream(config); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	for {
		var known struct {
			Epoch int64 `msgpack:"epoch"`
		}
		var sequence uint64
		last, err := w.js.GetLastMsg("MD_STATE", w.subject+"ref")
		if err == nil {
			sequence, err = last.Sequence, msgpack.Unmarshal(last.Data, &known)
		}
		if err != nil && !errors.Is(err, nats.ErrMsgNotFound) {
			return err
		}
		w.epoch = max(now(), known.Epoch+1) + rand.Int64N(1_000_000)
		_, err = w.js.Publish(w.subject+"ref", pack(w.ref()), nats.ExpectLastSequencePerSubject(sequence))
		var refused *nats.APIError
		if !errors.As(err, &refused) || refused.ErrorCode != wrongLastSequence {
			return err
		}
	}
}

func (w *writer) run(others, reconnects <-chan int64, stop <-chan os.Signal) {
	updates, trades := time.Tick(50*time.Millisecond), time.Tick(500*time.Millisecond)
	snaps, statuses, again := time.Tick(4*time.Second), time.Tick(5*time.Second), time.Tick(55*time.Second)
	for {
		select {
		case <-updates:
			if err := w.update([]int64{6412310, 1 + rand.Int64N(100_000_000)}, []int64{}); err != nil {
				log.Print(err)
			}
		case <-trades:
			w.trade(6412320, 1000000, 1) // 1: the taker bought
		case <-snaps: // at most 5 s after a change
			if w.unsnapped > 0 {
				w.snap()
			}
		case <-statuses:
			w.status()
		case <-again:
			w.announce()
		case <-reconnects:
			w.announce()
		case epoch := <-others:
			// One that is more than an hour ahead of the clock counts for nobody.
			if epoch > w.epoch && epoch < now()+time.Hour.Microseconds() {
				log.Fatalf("another writer has taken over with epoch %d", epoch)
			}
		case <-stop:
			w.state = "feed_down"
			w.status()
			w.snap()
			return
		}
	}
}

func main() {
	others, reconnects, stop := make(chan int64, 16), make(chan int64, 16), make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	nc, err := nats.Connect(os.Args[1], nats.MaxReconnects(-1), nats.ReconnectHandler(func(*nats.Conn) { reconnects <- 0 }))
	if err != nil {
		log.Fatal(err)
	}
	var told sync.Once
	failed := func(_ nats.JetStream, message *nats.Msg, err error) {
		told.Do(func() { log.Printf("%s is not stored: %v", message.Subject, err) })
	}
	js, err := nc.JetStream(nats.MaxWait(2*time.Second), nats.PublishAsyncErrHandler(failed))
	if err != nil {
		log.Fatal(err)
	}
	venue, symbol, _ := strings.Cut(os.Args[2], ":")
	w := &writer{nc: nc, js: js, subject: fmt.Sprintf("md.%s.%s.", token(venue), token(symbol)), state: "trading", heard: time.Now()}
	if err := w.begin(); err != nil {
		log.Printf("nothing is stored: %v", err) // live data goes out all the same
		w.epoch = now() + rand.Int64N(1_000_000)
		w.live("ref", w.ref())
	}
	_, err = nc.Subscribe(w.subject+"status", func(message *nats.Msg) {
		var value []any
		if msgpack.Unmarshal(message.Data, &value) == nil && len(value) > 1 {
			if epoch, ok := value[1].(int64); ok {
				others <- epoch
			} else if epoch, ok := value[1].(uint64); ok {
				others <- int64(epoch)
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	w.status()
	w.snap()
	if err := w.update([]int64{6412310, 50000000, 6412300, 100000000}, []int64{6412320, 125000000, 6412330, 80000000}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("publishing", os.Args[2])
	w.run(others, reconnects, stop)
	if err := nc.Drain(); err != nil {
		log.Fatal(err)
	}
	for !nc.IsClosed() {
		time.Sleep(10 * time.Millisecond)
	}
}
