package main

import "time"

// cli is the command line: flags and commands in the order of the help.
type cli struct {
	Repo     string `placeholder:"DIR" env:"HYPHA_REPO" help:"Repository, the program's only state. Default: ~/.hypha"`
	JSON     bool   `name:"json" help:"Print JSON: one document, or one a line."`
	LogLevel string `placeholder:"LEVEL" env:"HYPHA_LOG_LEVEL" help:"What to log to standard error: debug, info, warn or error. Default: warn"`
	Reserve  string `placeholder:"SIZE" env:"HYPHA_RESERVE" help:"Free space to leave on the disk, 0 for none. Default: 1GiB or 2 % of the disk, the larger"`

	StorageMax string `placeholder:"SIZE" env:"HYPHA_STORAGE_MAX" help:"What the store may take: what is not pinned goes for new content, that which was not used for longest first. Default: no limit"`

	Fetch fetchCmd `cmd:"" group:"content" help:"Get files from hf://, https://, s3://, ipfs:// into the store, and into a directory."`
	Add   addCmd   `cmd:"" group:"content" help:"Store files and directories; print their CIDs."`
	Cat   catCmd   `cmd:"" group:"content" help:"Print a file, or a part of it."`
	Get   getCmd   `cmd:"" group:"content" help:"Write a file or directory to disk."`
	Ls    lsCmd    `cmd:"" group:"content" help:"List a directory."`
	Stat  statCmd  `cmd:"" group:"content" help:"Describe a file or directory."`
	Put   putCmd   `cmd:"" group:"content" help:"Upload files and directories to s3://."`
	Block blockCmd `cmd:"" group:"content" help:"Single blocks."`
	DAG   dagCmd   `cmd:"" name:"dag" group:"content" help:"CARs: everything under a CID in one file, out of the store and in."`

	Daemon  daemonCmd  `cmd:"" group:"node" help:"Run the node: take part in the network, serve jobs and commands."`
	ID      idCmd      `cmd:"" name:"id" group:"node" help:"Print the node's peer id and addresses."`
	Peers   peersCmd   `cmd:"" group:"node" help:"List the connected peers."`
	Status  statusCmd  `cmd:"" group:"node" help:"Print what the node has done and does."`
	Top     topCmd     `cmd:"" group:"node" help:"Watch the node at work: transfers, peers, rates."`
	Connect connectCmd `cmd:"" group:"node" help:"Connect to a peer."`

	SwarmKey swarmKeyCmd `cmd:"" group:"node" help:"Make the key of a private network."`

	Job    jobCmd    `cmd:"" group:"job" help:"Jobs: a work directory and a bridge socket each."`
	Bridge bridgeCmd `cmd:"" group:"job" help:"Attach a bridge and a work directory to a process that somebody else runs."`

	Pin    pinCmd    `cmd:"" group:"keep" help:"Keep content from being collected."`
	GC     gcCmd     `cmd:"" name:"gc" group:"keep" help:"Give the space of what is not pinned back to the disk."`
	Verify verifyCmd `cmd:"" group:"keep" help:"Hash everything again; drop and report what is damaged."`
	Du     duCmd     `cmd:"" group:"keep" help:"Count what the repository holds."`

	Config     configCmd     `cmd:"" group:"other" help:"Show and change settings."`
	Doctor     doctorCmd     `cmd:"" group:"other" help:"Check what a node depends on, and tell how far jobs can be isolated."`
	Version    versionCmd    `cmd:"" group:"other" help:"Print the version."`
	Completion completionCmd `cmd:"" group:"other" help:"Print a completion script for a shell."`
}

// network is what commands share that may ask peers.
type network struct {
	Timeout time.Duration `default:"30s" placeholder:"TIME" help:"Give up after this long without progress."`
}

// ms returns the timeout as the API has it: milliseconds.
func (n network) ms() int64 { return max(n.Timeout.Milliseconds(), 1) }
