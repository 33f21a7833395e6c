package isolate

import "context"

// Choose is Probe and Report.Plan in one, without trying what does not matter:
// it costs microseconds where Landlock is all that is wanted. uidDir is the work
// directory of a command that could get a user of its own, "" if it can't.
func Choose(ctx context.Context, m Mode, uidDir string) (p Plan, lacks string, err error) {
	var r Report
	withUID := uidDir != ""
	if m == None {
		return r.Plan(m, withUID)
	}
	r.LandlockABI, r.Landlock = probeLandlock()
	if withUID {
		r.UID = probeUID(ctx, uidDir)
	}
	if m == Namespace || !r.Landlock.OK && !r.UID.OK {
		r.Namespace = probeNamespace(ctx)
	}
	return r.Plan(m, withUID)
}
