package sabotage

// fault is one line gone wrong, and who must notice it.
type fault struct {
	name     string
	file     string
	old, new string
	// caught are the suites that must fail, each by itself: package, pattern of
	// tests, further arguments.
	caught [][]string
}

// The simulation with few seeds, as a catcher.
var (
	simulation = []string{"internal/simulation", "^TestSimulation$", "-seeds=3", "-twice=0"}
	histories  = []string{"reminders", "^TestPlannerOverHistories$"}
)

var faults = []fault{
	{
		"acknowledge before the commit is on disk", "eventstore/embedded/writer.go",
		"	b.committing = true\n",
		"	b.committing = true\n	b.answer()\n",
		[][]string{{"eventstore/embedded", "^TestAFailedSync$"}},
	},
	{
		"acknowledge without a sync", "eventstore/embedded/writer.go",
		`"synchronous = FULL"`,
		`"synchronous = OFF"`,
		[][]string{{"internal/torture", "^TestAnswersAreSynced$"}},
	},
	{
		"try the commit again after a failed sync", "eventstore/embedded/writer.go",
		"	if err := l.options.commit(func() error { return execute(b.w.commit) }); err != nil {",
		"	if err := l.options.commit(func() error { return execute(b.w.commit) }); err != nil && l.options.commit(func() error { return execute(b.w.commit) }) != nil {",
		[][]string{{"eventstore/embedded", "^TestAFailedSync"}},
	},
	{
		"go on after a failed sync without a fence", "eventstore/embedded/recover.go",
		"	if err := l.fence(w); err != nil {",
		"	if err := error(nil); err != nil {",
		[][]string{{"eventstore/embedded", "^TestAFailedSync"}},
	},
	{
		"no sync of the folder", "internal/durable/durable.go",
		"	return errors.Join(d.Sync(), d.Close())",
		"	return d.Close()",
		[][]string{{"internal/torture", "^TestNamesAreSynced$"}},
	},
	{
		"the keys' connection goes on after a failed sync", "keys/storage_file.go",
		"		f.suspect = true",
		"		f.suspect = false",
		[][]string{{"keys", "^TestTakesAgainOnceTheFileCanBeWritten$"}},
	},
	{
		"the planner's checkpoint before its commands", "reminders/planner.go",
		"	touch, err := p.applyFacts(ctx, b.Records)\n",
		"	_ = p.table.change(func(c change) error { return c.setMark(markPlanned, last) })\n	touch, err := p.applyFacts(ctx, b.Records)\n",
		[][]string{{"reminders", "^TestKilledBeforeItHasPlanned$"}},
	},
	{
		"the read models' checkpoint without their rows", "projections/writer.go",
		"		w.checkpoint = next\n",
		"		w.checkpoint = next\n		w.checkpoint.facts++\n",
		[][]string{{"projections", "Follow|Fold|Rebuild|Restart|Generate|History|Checkpoint"}},
	},
	{
		"< in place of <= at the due time", "aggregates/notification_rules.go",
		"!n.ScheduledTime.After(now.Time) &&",
		"n.ScheduledTime.Before(now.Time) &&",
		[][]string{{"reminders", "^TestOnTimeByTheClock$"}},
	},
	{
		"a minute too early", "reminders/wanted.go",
		"-time.Duration(r.MinutesBefore) * time.Minute)",
		"-time.Duration(r.MinutesBefore+1) * time.Minute)",
		[][]string{{"reminders", "^TestWanted$"}, simulation},
	},
	{
		"a lost timer", "reminders/sender.go",
		"			next = earliest(next, due)",
		"			_ = due",
		[][]string{{"reminders", "^TestOnTimeByTheClock$|^TestManyChannelsAtTheirTimes$|^TestBackoffUntilItExpires$"}},
	},
	{
		"a lost cancel", "reminders/plan.go",
		"		if !isWanted[o.NotificationID] {",
		"		if !isWanted[o.NotificationID] && reason == \"\" {",
		[][]string{{"reminders", "^TestPlan$"}, histories, simulation},
	},
	{
		"no look before sending", "reminders/look.go",
		"v := seen{at: s.now(), reason",
		"v := seen{wanted: who != nil, at: s.now(), reason",
		[][]string{{"reminders", "^TestEveryRowOfTheStateTable$"}},
	},
	{
		"a commit without its last page", "internal/writeback/log.go",
		"	if last {\n",
		"	if last && len(l.kept) > 2*beforePage+8192 {\n",
		[][]string{{"internal/writeback", "^TestCommitsOfAllSizes$|^TestWhatIsCommittedIsInTheFile$"}},
	},
	{
		"a look is as new as when its answer was read", "reminders/look.go",
		"(!l.shared ||",
		"(true ||",
		[][]string{{"reminders", "^TestLookWhoseAnswerWasReadLate$"}},
	},
	{
		"a change doesn't wait for messages on their way", "commands/do.go",
		"		settle(ctx, job.waitFor)",
		"		settle(ctx, nil)",
		[][]string{{"reminders", "^TestChangeDuringSending$"}, {"commands", "^TestChangesThatSupersedeWait$"}},
	},
	{
		"another id in each attempt", "reminders/look.go",
		"		ID: n.ID, Channel",
		"		ID: n.ID[:35] + string(rune('0'+n.Attempts)), Channel",
		[][]string{{"reminders", "^TestUnknownIsTriedAgainInDoubt$"}, simulation},
	},
	{
		"an idempotency key is good for another body", "commands/stream.go",
		"	if before.body != digestOf(j.request.Body) {",
		"	if before.body == digestOf(\"\") {",
		[][]string{{"commands", "^TestKeyed"}},
	},
	{
		"no schedule number in the id", "reminders/wanted.go",
		"strconv.Itoa(e.MoveCount)",
		"strconv.Itoa(0*e.MoveCount)",
		[][]string{{"reminders", "^TestIdsFollowTheSchedule$"}, simulation},
	},
	{
		"a claim without an expected revision", "commands/settle.go",
		"	position, err := s.h.o.Store.Append(ctx, s.name, w.expected, w.records)\n	if err == nil ||",
		"	if last, ok, _ := s.h.o.Store.ReadLast(ctx, s.name); ok {\n		w.expected = last.Revision\n	}\n	position, err := s.h.o.Store.Append(ctx, s.name, w.expected, w.records)\n	if err == nil ||",
		[][]string{{"commands", "^TestRacingInstances$|^TestLostRacesAreDecidedAgain$", "-count=10"}},
	},
	{
		"plan from a table that shows what the log has lost", "reminders/place.go",
		"	for _, name := range []string{markPlanned, markApplied} {",
		"	for _, name := range []string{markPlanned} {",
		[][]string{{"reminders", "^TestTableAheadOfALogThatWasPutBack$"}},
	},
	{
		"a claim of a process that has ended is not in doubt", "aggregates/notification_rules.go",
		"		InDoubt: overtaking || n.unknown(),",
		"		InDoubt: n.unknown(),",
		[][]string{{"aggregates", "^TestNotificationRules$"}, simulation},
	},
	{
		"clean-up forgets what was sent", "aggregates/notification_rules.go",
		"	again := n.Status == NotificationCancelled && n.CancelReason != events.CancelledByHand",
		"	again := n.Final() && n.CancelReason != events.CancelledByHand",
		[][]string{{"aggregates", "^TestNotificationRules$"}},
	},
	{
		"clean-up takes what is not over", "projections/sending.go",
		"SELECT id FROM {notifications} WHERE final_at < ? LIMIT ?",
		"SELECT id FROM {notifications} WHERE coalesce(final_at, 0) < ? LIMIT ?",
		[][]string{{"projections", "Clear"}},
	},
	{
		"an outcome is not tried again", "reminders/conclude.go",
		"		if ctx.Err() != nil || s.ended() || lasting(err) {",
		"		if ctx.Err() == nil || s.ended() || lasting(err) {",
		[][]string{{"reminders", "^TestStoreAwayWhileConcluding$"}},
	},
	{
		"an auditor that excuses everything", "reminders/audit.go",
		"			if excused {",
		"			if excused || len(holes) == 0 {",
		[][]string{{"reminders", "^TestAuditFindsHoles$"}},
	},
	{
		"a name is called wherever it leads", "channels/outgoing/guard.go",
		`if err != nil || !strings.HasPrefix(network, "tcp") || !permits(to.Addr()) {`,
		`if permits(to.Addr()); err != nil || !strings.HasPrefix(network, "tcp") {`,
		[][]string{{"channels/outgoing", "^TestNamesAreJudgedByTheirAddresses$"}, {"channels/outgoing", "^TestRebinding$"}, {"channels/webhook", "^TestContract$"}},
	},
	{
		"a proxy of the environment makes the calls", "channels/outgoing/outgoing.go",
		"			DialContext:            dialer.DialContext,",
		"			DialContext:            dialer.DialContext, Proxy: http.ProxyFromEnvironment,",
		[][]string{{"channels/outgoing", "^TestNoProxyOfTheEnvironment$"}},
	},
	{
		"a lost answer is taken for a refusal", "channels/outgoing/outgoing.go",
		`		r.Outcome, r.Code = lost, "no_answer"`,
		`		r.Outcome, r.Code = channels.Later, "no_answer"`,
		[][]string{{"channels/sms", "^TestTwilioContract$"}, {"channels/slack", "^TestAppContract$"}},
	},
	{
		"a service account may point elsewhere", "channels/push/fcm_account.go",
		"	case config.TokenURL != tokenURL:",
		"	case config.TokenURL == tokenURL+GoogleTokenURL:",
		[][]string{{"channels/push", "^TestReadAccount$"}},
	},
}
